import type { Context as HonoContext } from 'hono'

import type { NodeRequest } from '../cookie/connection.ts'

/** What tells of the connection: under @hono/node-server the socket does, where the URL repeats what the client wrote. */
export function requestOf(c: HonoContext): Request | NodeRequest {
  const incoming = (c.env as { incoming?: Partial<NodeRequest> } | undefined)?.incoming
  return incoming?.headers !== undefined && incoming.socket !== undefined
    ? (incoming as NodeRequest)
    : c.req.raw
}
