/** How a patch names the content that it stands on. */
export { plainReference as referenceOf } from '../../codec/index.ts';
