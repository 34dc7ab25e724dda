/** How many different cookies of one name are looked at; those after them are ignored. */
export const MAX_CANDIDATES = 4

/**
 * Every different value that a Cookie header holds under exactly this name, at most {@link MAX_CANDIDATES}. More than
 * one is for the caller to judge: their order says nothing about which is genuine (6265bis 4.2.2, 8.6).
 *
 * Linear in the header's length, and throws on no string. A value is handed out as it stands: double quotes are
 * part of it (6265bis 4.1.1), and nothing is decoded.
 * @param name an RFC 9110 token
 */
export function readCookie(header: string | null | undefined, name: string): readonly string[] {
  if (header === null || header === undefined) return NONE
  let values: string[] | undefined
  let at = header.indexOf(name)
  while (at !== -1) {
    let end = at + name.length
    const equals = skipBlanks(header, end)
    if (header.charCodeAt(equals) === EQUALS && beginsPair(header, at)) {
      const semicolon = header.indexOf(';', equals)
      end = semicolon === -1 ? header.length : semicolon
      const value = trimmed(header, equals + 1, end)
      if (values === undefined) values = [value]
      // A value sent twice, as under two paths, names one session: there is nothing to choose between.
      else if (!values.includes(value) && values.push(value) === MAX_CANDIDATES) break
    }
    // No pair can begin inside what was just passed: a name holds neither blanks nor semicolons.
    at = header.indexOf(name, end)
  }
  return values ?? NONE
}

const NONE: readonly string[] = Object.freeze([])

const TAB = 0x09
const SPACE = 0x20
const SEMICOLON = 0x3b
const EQUALS = 0x3d

/** 6265bis 5.6: only SP and HTAB surround names and values. To trim more would let other names pass for this one. */
function isBlank(code: number): boolean {
  return code === SPACE || code === TAB
}

function skipBlanks(header: string, at: number): number {
  while (isBlank(header.charCodeAt(at))) at++
  return at
}

/** Whether nothing but blanks stands between `at` and the semicolon, or the header's beginning, before it. */
function beginsPair(header: string, at: number): boolean {
  do at--
  while (isBlank(header.charCodeAt(at)))
  return at < 0 || header.charCodeAt(at) === SEMICOLON
}

function trimmed(header: string, start: number, end: number): string {
  while (start < end && isBlank(header.charCodeAt(start))) start++
  while (start < end && isBlank(header.charCodeAt(end - 1))) end--
  return header.slice(start, end)
}
