import { subscribe, unsubscribe } from 'node:diagnostics_channel'

import { onTestFinished } from 'vitest'

import type { Decision } from '../../src/answer.ts'
import type { SessionEvent } from '../../src/events.ts'

/** What is published on a channel from now on to the end of the test. */
export function published(channel: 'holdfast:event'): SessionEvent[]
export function published(channel: 'holdfast:commit'): Decision[]
export function published(channel: string): unknown[] {
  const messages: unknown[] = []
  const note = (message: unknown): void => void messages.push(message)
  subscribe(channel, note)
  onTestFinished(() => void unsubscribe(channel, note))
  return messages
}
