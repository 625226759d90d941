// Colours: ordered values along a trimmed viridis, others from Okabe and Ito; both were checked for colour-blind readers.
const RAMPS = {
  light: ["#440154", "#414487", "#2a788e", "#22a884", "#5fb83a"],
  dark: ["#8f7ce0", "#5c8bd6", "#2fb0b8", "#6fd07a", "#fde725"],
};
const CELLS = ["#440154", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725"];
const CATEGORIES = { light: ["#0072b2", "#c04f00", "#00805c", "#b0578a", "#333333"], dark: ["#56b4e9", "#ff9a4d", "#2fc79c", "#e59ac3", "#eeeeee"] };
const DASHES = [[], [7, 3], [2, 2], [9, 3, 2, 3], [4, 4]];

const channels = (color) => [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));

function mixed(ramp, share) {
  const place = Math.min(Math.max(share, 0), 1) * (ramp.length - 1);
  const index = Math.min(Math.floor(place), ramp.length - 2);
  const [one, other] = [channels(ramp[index]), channels(ramp[index + 1])];
  const parts = one.map((value, at) => Math.round(value + (other[at] - value) * (place - index)));
  return `#${parts.map((part) => part.toString(16).padStart(2, "0")).join("")}`;
}

function luminance(color) {
  const [red, green, blue] = channels(color).map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

// Black or white, whichever stands out more.
const inkOn = (color) => (luminance(color) > 0.179 ? "#000000" : "#ffffff");

function colorsOf(count, ordered) {
  const theme = isDark() ? "dark" : "light";
  return Array.from({ length: count }, (_, index) =>
    ordered || count > CATEGORIES[theme].length ? mixed(RAMPS[theme], count > 1 ? index / (count - 1) : 0.4) : CATEGORIES[theme][index],
  );
}

const styleOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
