# SPDX-License-Identifier: GPL-3.0-or-later
"""What every daemon and command line shares. Knows no device."""

VERSION = "0.1.0"
"""Of this software; the packages take it from here."""
