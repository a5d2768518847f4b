"""Takes due work out of the store and gives it to functions; runs in the supervisor, on its event loop.

What the supervisor provides (and `instances.py` implements)::

    capacity(function) -> async context manager that yields `invoke`

Entering waits until an instance of the function has room and holds that place until it is left. Only
then is anything taken from a queue, so that no message's visibility time runs while it waits for a place::

    async with capacity("worker") as invoke:
        failures = await invoke("worker:ship", "messages", deliveries)   # {message id: error}, {} = all handled
        await invoke("worker:report", "event", event)                    # pys_multi.messages.Event; {} or None

`deliveries` is a list of `store.Delivery`, which is a `Message`. `invoke` raises where nothing is known to be
handled: the instance crashed, ran out of time, or (of an event) the handler raised. Everything is then
delivered again. The function's timeout is the invoker's to enforce.

    pump = Pump(store, service, capacity); await pump.start(); …; pump.pause(); pump.resume()
    finished = await pump.drain(timeout)      # takes nothing more, waits for what runs
    await pump.close()
"""
