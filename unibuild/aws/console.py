"""What is new in an instance's console: EC2 gives the last 64 KiB of it again each time, and only now and then."""

from __future__ import annotations

__all__ = ["fresh"]

_OVERLAP = 4096  # bytes of the end that are sought in what came later


def fresh(before: bytes, now: bytes) -> bytes:
    """Return what an instance said since its console was asked for before; rather a line twice than none.

    Args:
        before: what came then.
        now: what came now. Where nothing of ``before`` is in it, more was said meanwhile than EC2 keeps, or the
            instance started anew: all of it is new.
    """
    if now.startswith(before):
        return now[len(before) :]
    end = before[-_OVERLAP:]
    place = now.find(end)
    if place >= 0:
        return now[place + len(end) :]
    # what EC2 kept of the older output may be less than what is sought
    longest = next((size for size in range(min(len(end), len(now)), 0, -1) if now.startswith(end[-size:])), 0)
    return now[longest:]
