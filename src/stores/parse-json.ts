/**
 * `JSON.parse`, but with each key as it was written. V8 since 12.8, and so Node 24 to 26, takes a key with an escape for another one that it
 * has seen: once any object of the process has had the key `\`, the key of `{"\"":1}` may come out as `\` too
 * (nodejs/node#63785, chromium:521080746). Such a text may come from any visitor whose JSON is parsed.
 * @throws SyntaxError as `JSON.parse` does
 */
export function parseJson(text: string): unknown {
  const keys: string[] = []
  let prefix = ''
  let safe = ''
  let done = 0
  for (let at = text.indexOf('\\'); at !== -1; at = text.indexOf('\\', REST.lastIndex)) {
    REST.lastIndex = at
    const rest = REST.exec(text)
    // This is no JSON, as will be said below.
    if (rest === null) break
    const colon = rest[1]
    if (colon === undefined) continue
    prefix ||= absentFrom(text)
    const start = text.lastIndexOf('"', at)
    const end = REST.lastIndex - colon.length
    safe += `${text.slice(done, start)}"${prefix}${keys.length}"`
    // By itself a string is read right.
    keys.push(JSON.parse(text.slice(start, end)) as string)
    done = end
  }
  const value: unknown = JSON.parse(safe + text.slice(done))
  if (keys.length === 0) return value

  const named = (inner: unknown): unknown => {
    if (typeof inner !== 'object' || inner === null) return inner
    if (Array.isArray(inner)) return inner.map(named)
    const nameOf = (key: string): string =>
      key.startsWith(prefix) ? keys[Number(key.slice(prefix.length))]! : key
    return Object.fromEntries(Object.entries(inner).map(([key, of]) => [nameOf(key), named(of)]))
  }
  return named(value)
}

/** The rest of a string in JSON text, and the colon after it where it is a key. */
const REST = /(?:[^"\\]|\\[^])*"([ \t\r\n]*:)?/y

function absentFrom(text: string): string {
  let absent = '\uE000'
  while (text.includes(absent)) absent += '\uE000'
  return absent
}
