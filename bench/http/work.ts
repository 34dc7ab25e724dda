/** What every set-up does behind its session library, and with what data. */

/** `read` an existing session, change one key of it (`write`); `sign-in` fills a new one, and is not measured. */
export const WORKS = ['read', 'write', 'sign-in'] as const
export type Work = (typeof WORKS)[number]

export interface AppSession {
  user?: string
  visits?: number
  roles?: string[]
  cart?: { sku: string; name: string; quantity: number; price: number }[]
}

/**
 * What a shop's session holds, as many bytes of JSON as were asked for: a third in objects, and for the rest an access token, which is
 * most of what sessions behind a single sign-on are.
 * @param keys how many more keys to spread the token over
 */
export function appData(bytes: number, keys = 0): AppSession {
  const cart: NonNullable<AppSession['cart']> = []
  const data: AppSession & Record<string, unknown> = {
    user: 'user-4711',
    visits: 0,
    roles: ['customer'],
    cart,
  }
  for (let i = 0; sizeOf(data) < bytes / 3; i++)
    cart.push({ sku: `sku-${1000 + i}`, name: `Darjeeling No. ${i}`, quantity: 1 + (i % 5), price: 5.95 + i })
  const left = Math.max(0, bytes - sizeOf(data))
  if (keys === 0) data['accessToken'] = text(left - 17)
  for (let i = 0; i < keys; i++) data[`key${i}`] = text(left / keys - String(i).length - 8)
  return data
}

function sizeOf(data: object): number {
  return JSON.stringify(data).length
}

function text(length: number): string {
  return 'eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9'
    .repeat(Math.ceil(Math.max(0, length) / 40))
    .slice(0, Math.max(0, length))
}

/** The work on a session that is a plain object. */
export function onObject(session: AppSession, work: Work, data: AppSession): string {
  if (work === 'read') return session.user ?? NOBODY
  if (work === 'write') return String((session.visits = (session.visits ?? 0) + 1))
  Object.assign(session, data)
  return SIGNED_IN
}

/** What a session with methods is asked here; libraries differ in what else they can do. */
export interface MapLike {
  get(key: any): any
  set(key: any, value: any): unknown
}

/** The same work on a session that has methods. */
export function onMap(session: MapLike, work: Work, data: AppSession): string {
  if (work === 'read') return (session.get('user') as string | undefined) ?? NOBODY
  if (work === 'write') {
    const visits = ((session.get('visits') as number | undefined) ?? 0) + 1
    session.set('visits', visits)
    return String(visits)
  }
  for (const [key, value] of Object.entries(data)) session.set(key, value)
  return SIGNED_IN
}

/** The bare handler's answer: as long as the others', and no session behind it. */
export const NOBODY = 'nobody-00'
const SIGNED_IN = 'signed in'

/** 32 bytes and more, as most libraries ask for. */
export const SECRET = 'a secret that is used in the benchmark only'

/** Seconds that a session lives: longer than any run. */
export const TTL = 86_400
