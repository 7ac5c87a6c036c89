// Check parses every Mermaid block of the given pages with the parser that draws it. It prints
// each block that does not parse and exits 1 then.
//
//	node tools/mermaid/check.mjs README.md docs/life.md
import { readFileSync } from 'node:fs';
import DOMPurify from 'dompurify';
import mermaid from 'mermaid';

// DOMPurify needs a browser. It cleans the text of labels and decides nothing about the syntax.
DOMPurify.addHook = () => {};
DOMPurify.sanitize = (text) => text;

// problem returns the parse error of the text, or "" if it is a diagram.
async function problem(text) {
  try {
    await mermaid.parse(text);
    return '';
  } catch (err) {
    return String(err.message ?? err);
  }
}

// blocks yields each Mermaid block of a page, with the number of its first line.
function* blocks(page) {
  for (const match of page.matchAll(/^ *```mermaid\n(.*?)^ *```$/gms)) {
    yield { line: page.slice(0, match.index).split('\n').length, text: match[1] };
  }
}

for (const broken of ['flowchart TD\n a[b --> c', 'sequenceDiagram\n a ->', 'stateDiagram-v2\n a -->']) {
  if (!(await problem(broken))) throw new Error(`the parser accepts ${broken}`);
}

let count = 0;
for (const path of process.argv.slice(2)) {
  for (const { line, text } of blocks(readFileSync(path, 'utf8'))) {
    count++;
    const why = await problem(text);
    if (why) {
      console.log(`${path}:${line}: ${why}`);
      process.exitCode = 1;
    }
  }
}
if (!count) throw new Error('no page has a Mermaid block');
console.log(`${count} Mermaid blocks`);
