# SPDX-License-Identifier: GPL-3.0-or-later
"""Codecs of the chiller families: bytes in, frames out, no I/O."""
