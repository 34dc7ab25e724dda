/** A value that is there already, or a promise of it. What need not be waited for costs no promise, and no turn of the microtask queue. */
export type Awaitable<V> = V | Promise<V>

/** Goes on with a value: at once, where it is there. */
export function chain<V, R>(value: Awaitable<V>, step: (value: V) => Awaitable<R>): Awaitable<R> {
  return value instanceof Promise ? value.then(step) : step(value)
}

/** Goes on with what a step comes to, be that at once or later: with its value, or with what it throws or rejects with. */
export function settle<V, R>(
  step: () => Awaitable<V>,
  succeeded: (value: V) => Awaitable<R>,
  failed: (error: unknown) => R,
): Awaitable<R> {
  let value
  try {
    value = step()
  } catch (error) {
    return failed(error)
  }
  return value instanceof Promise ? value.then(succeeded, failed) : succeeded(value)
}
