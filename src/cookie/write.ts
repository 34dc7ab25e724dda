import { MAX_COOKIE_AGE } from './attributes.ts'
import type { CookieAttributes } from './attributes.ts'

/**
 * The Set-Cookie line that gives a browser the cookie.
 * @param value of the cookie, as the token codec encoded it
 * @param maxAge seconds to keep it, rounded down and capped at 400 days; null for until the browser is closed
 */
export function writeCookie(attributes: CookieAttributes, value: string, maxAge: number | null): string {
  const { name, suffix } = attributes
  if (maxAge === null) return `${name}=${value}${suffix}`
  // 6265bis 5.6.2: Max-Age is digits alone. Nothing left means 0, which deletes.
  const seconds = Math.max(0, Math.min(Math.floor(maxAge), MAX_COOKIE_AGE))
  return `${name}=${value}; Max-Age=${seconds}${suffix}`
}

/**
 * The Set-Cookie line that takes the cookie away: a browser replaces only the cookie of the same name, domain, path
 * and partition, and lets only attributes that could set it replace it (6265bis 5.7).
 */
export function clearCookie(attributes: CookieAttributes): string {
  const { name, suffix } = attributes
  // Expires too, for clients that do not know Max-Age.
  return `${name}=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT${suffix}`
}
