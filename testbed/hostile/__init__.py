"""Bad input, made on purpose: messages, packets, images. It judges decoders, and never runs on a site of somebody."""
