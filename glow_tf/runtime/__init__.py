"""Execution of a flow: devices, sharding and precision; also files, paths and text output."""
