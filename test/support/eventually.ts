import { vi } from 'vitest'

/**
 * Asks again and again until something holds that another process brings about in its own time, and that it tells nobody of. Within which
 * time it must, a test says for itself: this waits for as long as a busy machine may take.
 * @param timeout milliseconds
 * @throws what it threw last
 */
export function eventually<V>(holds: () => V | Promise<V>, timeout = 15_000): Promise<V> {
  return vi.waitFor(holds, { timeout, interval: 20 })
}
