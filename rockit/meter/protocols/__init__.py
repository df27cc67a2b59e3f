# SPDX-License-Identifier: GPL-3.0-or-later
"""Codecs of the meters: bytes in, telegrams out, no I/O."""
