# SPDX-License-Identifier: GPL-3.0-or-later
"""What every daemon and command line shares. Knows no device."""
