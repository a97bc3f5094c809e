"""The part of an end device that asks: when, with which photograph, and what becomes of each request.

Every request ends in exactly one outcome and one report, whatever happens on the way. It obeys decisions and never
makes one, except where none came: then the most accurate model here runs.
"""
