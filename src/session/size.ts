import { Buffer } from 'node:buffer'

import { SessionError } from '../errors.ts'
import { parseJson } from '../stores/parse-json.ts'

/**
 * Holds a session to its limit, by the bytes that would be written.
 * @throws SessionError `ERR_SESSION_TOO_LARGE`, naming the largest keys
 */
export function checkSize(json: string, maxBytes: number): void {
  // No character takes more than three bytes for each of its UTF-16 units.
  if (json.length * 3 <= maxBytes) return
  const bytes = Buffer.byteLength(json)
  if (bytes <= maxBytes) return
  const largest = Object.entries(parseJson(json) as object)
    .map(([key, value]) => ({ key, bytes: Buffer.byteLength(JSON.stringify(value)) }))
    .sort((a, b) => b.bytes - a.bytes)
    .slice(0, 3)
    .map(({ key, bytes }) => `${JSON.stringify(key)} (${bytes} bytes)`)
  throw new SessionError(
    'ERR_SESSION_TOO_LARGE',
    `The session would take ${bytes} bytes, over maxSessionBytes (${maxBytes}). Largest: ${largest.join(', ')}. ` +
      'Keep large things in your database and their ids here.',
  )
}
