import { channel } from 'node:diagnostics_channel'

/**
 * What Holdfast tells of on the diagnostics channel `holdfast:event`. Ids may appear; tokens, cookies,
 * secrets and session data never do (OWASP ASVS 5.0, 16.2.5 and 16.3.3).
 */
export type SessionEvent =
  /** `destroyed` by its visitor; `revoked` from outside, or to make room for another of its user. */
  | { kind: 'created' | 'destroyed' | 'revoked' | 'conflict' | 'gone'; id: string }
  | { kind: 'rotated'; id: string; successor: string; signedIn: boolean }
  | { kind: 'expired'; id: string; reason: 'idle' | 'absolute' | 'deadline' }
  | {
      kind: 'rejected'
      reason: 'grammar' | 'signature' | 'unknown' | 'duplicate' | 'unreadable'
      id: string | null
    }
  /** A change made after the answer's headers left: only `save()` will keep it. */
  | { kind: 'late-change'; id: string }
  /** A `Secure` cookie was not sent over a plain connection, and nothing was saved. */
  | { kind: 'withheld'; remedy: string }
  /** A socket was not let in: because of its origin, because its session has ended, nobody is signed in, or the store fails. */
  | { kind: 'socket-refused'; reason: 'origin' | 'ended' | 'anonymous' | 'outage' }
  | { kind: 'store-failure'; operation: string; error: unknown }
  | { kind: 'sweep'; removed: number; error?: unknown }
  /** A store that loses sessions before their time: a Redis that evicts, or this process's memory in production. Told once. */
  | { kind: 'unfit-store'; reason: 'evicts' | 'in-memory'; remedy: string }
  /** Processes do not hear of each other's sign-outs, and find them out by looking again, within half a minute. Told once by each store. */
  | { kind: 'no-notices'; operation: 'publish' | 'subscribe'; remedy: string }
  /** The memory store is full and lets its least recently used session go. Told once. */
  | { kind: 'evicting'; limit: 'maxSessions' | 'maxTotalBytes' }

/**
 * Listens to the diagnostics channel `holdfast:event`, for logs and metrics.
 * @returns stops listening
 */
export function onEvent(listener: (event: SessionEvent) => void): () => void {
  const note = (message: unknown): void => listener(message as SessionEvent)
  events.subscribe(note)
  return () => {
    events.unsubscribe(note)
  }
}

const events = channel('holdfast:event')

/** Publishes an event; costs nothing while nobody listens. */
export function publish(event: SessionEvent): void {
  if (events.hasSubscribers) events.publish(event)
}
