"""Devices with a valid certificate that harm a site: silent ones, impostors and liars, as small parts for trials."""
