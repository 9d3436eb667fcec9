"""Devices and precision: what computations run on, and how exactly."""
