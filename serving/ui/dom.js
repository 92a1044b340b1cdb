/** DOM helpers shared by all components. */

/** @returns {HTMLElement} the element with this id */
export const byId = (id) => document.getElementById(id);

/**
 * Creates an element.
 * @param {string} tag
 * @param {Record<string, unknown>} properties
 * @param {...(Node | string)} children
 */
export function element(tag, properties = {}, ...children) {
  const created = Object.assign(document.createElement(tag), properties);
  created.append(...children);
  return created;
}

/**
 * Replaces the options of a select.
 * @param {HTMLSelectElement} select
 * @param {[value: string, text: string, disabled?: boolean][]} options
 * @param {string} selected value
 */
export function fillSelect(select, options, selected) {
  select.replaceChildren(
    ...options.map(([value, textContent, disabled = false]) => element("option", { value, textContent, disabled })),
  );
  select.value = selected;
}

/**
 * Sets `aria-busy` of an element while its pictures load.
 * @param {HTMLElement} target
 * @returns {(idle: boolean) => void}
 */
export const busyIndicator = (target) => (idle) => target.setAttribute("aria-busy", String(!idle));
