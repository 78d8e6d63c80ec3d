/**
 * Text from a repository, a server or a disk may hold what a terminal obeys: colours, moves of the
 * cursor, answers that are typed in for the user. People get to see it instead.
 */

/** All but line feed and tab; DEL and C1; what turns the direction of writing. */
const commands =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is meant
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;

/** The same, and what ends a line or moves within it. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is meant
const special = /[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/;

/** Lines of text, in which nothing is left that a terminal obeys. */
export function plainText(text: string): string {
  return text.replace(commands, spelled);
}

/** The same for what must stay on its line. */
export function plainCell(text: string): string {
  // Most have none: a table may have a million of them.
  if (!special.test(text)) return text;
  return plainText(text).replace(/[\n\t]/g, spelled);
}

function spelled(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
