"""placeholder until merge"""
def site_of(host: str) -> str:
    return ".".join(host.rstrip(".").split(".")[-2:])
