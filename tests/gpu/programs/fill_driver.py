"""The driver API by ctypes: what no framework stands before."""

from filling import DriverClient, run

if __name__ == "__main__":
    run(DriverClient)
