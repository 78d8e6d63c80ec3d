/** Writes a new golden repository beside the others: node test/golden/write.ts NAME DIRECTORY. */
import { nodeEnv } from '../../src/core/index.ts';
import { directoryStore } from '../../src/objects/index.ts';
import { goldens, writeGolden } from './golden.ts';

const [name, directory = ''] = process.argv.slice(2);
const golden = goldens.find((each) => each.name === name);
if (golden === undefined || directory === '') {
  console.error(`usage: write.ts ${goldens.map((each) => each.name).join('|')} DIRECTORY`);
  process.exitCode = 2;
} else {
  const { files, random } = nodeEnv();
  await using objects = await directoryStore(files, directory, random);
  await writeGolden(objects, golden);
}
