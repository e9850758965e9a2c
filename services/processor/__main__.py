from services.processor import service
from services.processor.config import Config
from services.shared import lifecycle

if __name__ == "__main__":
    lifecycle.main("processor", Config, service.run)
