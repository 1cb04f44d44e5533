"""A local Discord: gateway, REST, CDN and what people do, on one port.

An unmodified discord.py client logs in to it. The package speaks only HTTP and WebSocket and imports none of
Limner's other packages; it knows nothing about pictures, credits or jobs.
"""
