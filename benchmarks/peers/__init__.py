"""Other tools, asked the same questions of the same server.

Each has a virtual environment of its own, made once under `build/peers`, and a script that runs in it. They
are asked in the way that their documentation shows for many prompts, with as many calls in flight as the
job beside them where they can be told so; what they send home is turned off. One that can't be installed is
named as such.
"""
