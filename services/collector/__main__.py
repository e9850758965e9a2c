from services.collector import service
from services.collector.config import Config
from services.shared import lifecycle

if __name__ == "__main__":
    lifecycle.main("collector", Config, service.run)
