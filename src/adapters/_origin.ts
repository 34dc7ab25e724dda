import type { NodeRequest, WebRequest } from '../cookie/connection.ts'
import { SessionError } from '../errors.ts'

/** Which pages may open a socket. */
export interface OriginOptions {
  /**
   * The origins whose pages may open a socket, as in `['https://app.example.com']`. Default: those of this server's own host, as its Host
   * header names it; behind a proxy that changes that header, list them.
   */
  origins?: readonly string[]
  /** Lets clients in that send no Origin at all. No browser does that, and no page can make one; native applications do. Default: false. */
  allowMissingOrigin?: boolean
}

/**
 * Whether a page of some origin may open a socket: browsers send a site's cookies with a socket that any other site opens, and no
 * same-origin policy keeps that site from reading it (cross-site WebSocket hijacking; OWASP ASVS 5.0, 4.4.2).
 */
export type OriginCheck = (request: WebRequest | NodeRequest) => boolean

/** @throws SessionError `ERR_SESSION_OPTION` for what is no origin */
export function originCheck({ origins, allowMissingOrigin = false }: OriginOptions): OriginCheck {
  for (const origin of origins ?? [])
    if (!URL.canParse(origin) || new URL(origin).origin !== origin || origin.includes('*'))
      throw new SessionError(
        'ERR_SESSION_OPTION',
        `origins holds ${JSON.stringify(origin)}, which is no origin. One is written scheme://host, with a port unless it is the scheme's own, and with nothing behind.`,
        { rule: 'socket-origins' },
      )
  return (request) => {
    const origin = headerOf(request, 'origin')
    if (origin === undefined) return allowMissingOrigin
    return origins === undefined ? isOwn(origin, hostOf(request)) : origins.includes(origin)
  }
}

/** Whether an origin is of the host that was asked for. An opaque one, `null`, is nobody's (RFC 6454 7.3). */
function isOwn(origin: string, host: string | undefined): boolean {
  if (host === undefined || !URL.canParse(origin)) return false
  const { protocol, host: own } = new URL(origin)
  if (protocol !== 'https:' && protocol !== 'http:') return false
  // The port may be spelt out in one of them only.
  const asked = `${protocol}//${host}`
  return URL.canParse(asked) && new URL(asked).host === own && !/[/?#@\\]/.test(host)
}

function hostOf(request: WebRequest | NodeRequest): string | undefined {
  return headerOf(request, 'host') ?? headerOf(request, ':authority')
}

function headerOf({ headers }: WebRequest | NodeRequest, name: string): string | undefined {
  if (typeof headers.get === 'function')
    // The Web's own Headers refuse a pseudo-header's name.
    return name.startsWith(':') ? undefined : ((headers as WebRequest['headers']).get(name) ?? undefined)
  const value = (headers as NodeRequest['headers'])[name]
  return typeof value === 'string' ? value : value?.[0]
}
