# SPDX-License-Identifier: GPL-3.0-or-later
"""Meters: codecs, drivers, energy, daemon, command line."""
