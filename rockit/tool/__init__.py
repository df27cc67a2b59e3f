# SPDX-License-Identifier: GPL-3.0-or-later
"""The `rockit` command: everything that is not one device's own."""
