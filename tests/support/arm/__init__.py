"""Azure at the wire: Resource Manager and the services that a deploy speaks to, strict about what they do not know.

expressions.py   what stands in brackets in a template
template.py      a template → resources, in the order of what they need
resources.py     the resources: what each type takes, fills in and refuses
what_if.py       what a deployment would change
data.py          blobs, secrets and logs
sites.py         function apps: packages, indexed functions, keys, calls
server.py        all of it on one port of loopback; hosts are told apart by their names
"""
