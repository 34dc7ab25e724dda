import { html } from 'hono/html'
import type { HtmlEscapedString } from 'hono/utils/html'

/** HTML in which everything that came from outside has been escaped. */
export type Html = HtmlEscapedString | Promise<HtmlEscapedString>

/** The frame of every page. */
export function layout({ title, account, body }: { title: string; account: Html; body: Html }): Html {
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <title>${title}</title>
        <link rel="icon" href="/favicon.svg" />
        <link rel="stylesheet" href="/style.css" />
        <script type="module" src="/client.js"></script>
      </head>
      <body>
        <a class="skip" href="#main">Skip to content</a>
        <header class="top wrap">
          <a class="brand" href="/">${mark} Holdfast</a>
          ${account}
        </header>
        <main id="main">${body}</main>
        <footer class="foot wrap">
          <p>
            A holdfast is what anchors kelp to the rock. The source of this page is in <code>demo/</code>; its
            routes are in <code>demo/app.ts</code>.
          </p>
        </footer>
      </body>
    </html>`
}

/** A piece of code as it stands in the demo's source, its comments set apart. */
export function code(source: string): Html {
  const pieces = source.split('\n').flatMap((line) => {
    const [before, comment = ''] = line.split(/(?=\/\/ )/, 2)
    return [before, html`<i>${comment}</i>`, '\n']
  })
  return html`<pre class="code"><code>${pieces}</code></pre>`
}

const mark = html`<svg class="mark" viewBox="0 0 32 32" aria-hidden="true">
  <path
    d="M16 2v12M16 14c0 6-2 8-2 15M16 14c0 6 2 8 2 15M16 13c-1 7-7 6-8 14M16 13c1 7 7 6 8 14M16 12c-3 6-11 3-14 11M16 12c3 6 11 3 14 11"
  />
</svg>`
