import type { Decision } from 'holdfast'
import { html } from 'hono/html'

import type { Entry } from './decision-log.ts'
import { code, type Html } from './layout.ts'
import { clockTime } from './times.ts'

/** What the last requests did with the session, and why a cookie was or was not sent. */
export function decisions(entries: readonly Entry[]): Html {
  return html`<section class="log" aria-labelledby="log-title">
    <h2 id="log-title">What the last requests did, and why</h2>
    <p>
      Every commit explains itself. This page’s own record is made once it has been written, so it shows on
      the next.
    </p>
    <div id="log" data-part>
      ${entries.length === 0 ? html`<p class="empty">Nothing yet.</p>` : table(entries)}
    </div>
    ${code(`onCommit((decision) => this.#add(decision))`)}
  </section>`
}

function table(entries: readonly Entry[]): Html {
  return html`<table>
    <thead>
      <tr>
        <th scope="col">Request</th>
        <th scope="col">Its cookie led to</th>
        <th scope="col">Outcome</th>
        <th scope="col">In the store</th>
        <th scope="col">Cookie</th>
      </tr>
    </thead>
    <tbody>
      ${entries.map(
        ({ request, at, lookup, outcome, wrote, cookie, why }) =>
          html`<tr>
            <th scope="row">${request} <small>${clockTime(at)}</small></th>
            <td data-label="Its cookie led to">${LOOKUPS[lookup]}</td>
            <td data-label="Outcome"><span class="tag ${outcome}">${outcome}</span></td>
            <td data-label="In the store">${wrote}</td>
            <td data-label="Cookie"><b>${cookie}</b>: ${why}</td>
          </tr>`,
      )}
    </tbody>
  </table>`
}

const LOOKUPS: Record<Decision['lookup'], string> = {
  none: 'there was none',
  live: 'this session',
  ended: 'a session that has ended',
  missing: 'no session',
  expired: 'a session that has expired',
  unreadable: 'a record that cannot be read',
  malformed: 'nothing, being malformed',
  forged: 'nothing, being forged',
  ambiguous: 'several sessions',
  unavailable: 'a store out of reach',
}
