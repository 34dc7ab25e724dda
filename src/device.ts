import type { CookieSource } from './cookie/connection.ts'
import { addressOf, headerOf } from './cookie/connection.ts'

/**
 * What to note of the device that somebody signs in with, for a list of their sessions:
 * - `'user-agent'`: the User-Agent header
 * - `'user-agent-and-ip'`: the address as well, in front of it: personal data, to be kept only where it is needed
 * - a function of the request, as it was handed to `open`: for a name that people understand; null for none
 */
export type NoteDevice = 'user-agent' | 'user-agent-and-ip' | ((source: CookieSource) => string | null)

/**
 * What is noted of a request's device: at most {@link LONGEST} characters, none of which controls a terminal or the direction of text. It still
 * comes from the browser, which may say what it likes: escape it in HTML.
 */
export function describeDevice(source: CookieSource, note: NoteDevice, trustProxy: boolean): string | null {
  if (typeof note === 'function') return clean(note(source))
  const userAgent = headerOf(source, 'user-agent')
  const address = note === 'user-agent' ? null : addressOf(source, trustProxy)
  return clean([address, userAgent].filter(Boolean).join(' '))
}

/** Characters of a device's description. */
const LONGEST = 128

function clean(text: string | null): string | null {
  const plain = (text ?? '').replaceAll(/[\p{C}\s]+/gu, ' ').trim()
  // Cut between characters, not within one.
  return plain.slice(0, LONGEST).replace(/[\uD800-\uDBFF]$/, '') || null
}
