"""Where photographs come from, behind one interface, and how one is made ready to travel.

A source gives encoded bytes and never a photograph that cannot be decoded. It knows no request and no message.
"""
