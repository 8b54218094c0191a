"""The driver API by ctypes: what no framework stands before."""

from filling import Driver, DriverError, DriverMemory, run


class Client:
    errors = (DriverError,)

    def __init__(self) -> None:
        self.driver = Driver()
        self.driver.primary_context()

    def take(self, size: int) -> DriverMemory:
        return DriverMemory(self.driver, size)

    def give_back(self) -> None:
        pass

    def check(self) -> None:
        return None

    def total(self) -> int:
        return self.driver.total()


if __name__ == "__main__":
    run(Client)
