# SPDX-License-Identifier: GPL-3.0-or-later
"""A boiler plant: a boiler, chillers, two valves and one loop of water between them."""
