"""placeholder until merge"""
import ipaddress
def is_public(address):
    return address.is_global
