# SPDX-License-Identifier: GPL-3.0-or-later
"""Chillers: codecs, drivers, control, daemon, command line."""
