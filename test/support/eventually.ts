import { vi } from 'vitest'

/**
 * Retries until something holds that another process brings about without telling. A limit that matters is for the test to assert; this one
 * only allows for a busy machine.
 * @param timeout milliseconds
 * @throws what it threw last
 */
export function eventually<V>(holds: () => V | Promise<V>, timeout = 15_000): Promise<V> {
  return vi.waitFor(holds, { timeout, interval: 20 })
}
