#!/bin/sh
# Says which machine this is, and which htop is in the image.
uname -m
htop --version
