/** The one source of time: every part that keeps time takes a clock, so that a test can move it. */
export interface Clock {
  /** The present, in epoch milliseconds (UTC). */
  now(): number
  /**
   * Milliseconds since some moment, by a clock that nobody sets: what deadlines are kept by, so that they do not move when the time of
   * day does. Default: `now`
   */
  monotonic?(): number
  /**
   * Of a clock that has to be asked for its time, over a network say: what to wait for before anything is dated by it; null when it is known.
   * Default: it always is
   */
  ready?(): Promise<void> | null
  /**
   * Resolves after `ms` milliseconds.
   * @throws the signal's reason, when `signal` aborts first
   */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
}

/** The machine's clock. Its sleeps never keep a process alive. */
export const systemClock: Clock = {
  now: Date.now,
  monotonic: () => performance.now(),
  sleep(ms, signal) {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason as Error)
      const wake = (): void => {
        signal?.removeEventListener('abort', stop)
        resolve()
      }
      const stop = (): void => {
        clearTimeout(timer)
        reject(signal!.reason as Error)
      }
      const timer = setTimeout(wake, ms)
      // A timer of Workers is a number, and holds nothing open.
      ;(timer as { unref?: () => void }).unref?.()
      signal?.addEventListener('abort', stop, { once: true })
    })
  },
}

/** The instant, in milliseconds, from which to measure how long something takes. */
export function instantBy(clock: Clock): number {
  return clock.monotonic === undefined ? clock.now() : clock.monotonic()
}
