from services.loader import service
from services.loader.config import Config
from services.shared import lifecycle

if __name__ == "__main__":
    lifecycle.main("loader", Config, service.run)
