"""What the embedded model is taught to know: colours, places, everyday names, favourites. Knows no pixels, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

RGB = tuple[int, int, int]
Stops = tuple[tuple[float, RGB], ...]

COLOURS: Mapping[str, RGB] = MappingProxyType(
    {
        "white": (248, 248, 248),
        "black": (22, 22, 22),
        "red": (214, 48, 49),
        "orange": (243, 156, 18),
        "yellow": (251, 223, 86),
        "green": (46, 160, 80),
        "teal": (26, 188, 156),
        "blue": (52, 120, 219),
        "navy": (25, 42, 86),
        "purple": (142, 68, 173),
        "pink": (253, 160, 190),
        "brown": (121, 85, 72),
        "gray": (150, 150, 150),
    }
)

COLOUR_WORDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "gray": ("gray", "grey"),
        "navy": ("navy", "dark blue"),
        "purple": ("purple", "violet"),
        "teal": ("teal", "turquoise"),
    }
)

# A place is a vertical gradient: (height from the top in 0..1, colour). Two stops at one height make a horizon.
PLACES: Mapping[str, Stops] = MappingProxyType(
    {
        "night": ((0.0, (12, 16, 48)), (1.0, (58, 48, 120))),
        "sunset": ((0.0, (94, 60, 140)), (0.5, (236, 112, 99)), (1.0, (250, 200, 110))),
        "sky": ((0.0, (70, 140, 225)), (1.0, (205, 230, 250))),
        "meadow": ((0.0, (90, 160, 235)), (0.6, (195, 225, 250)), (0.6, (110, 185, 80)), (1.0, (60, 140, 55))),
        "beach": ((0.0, (90, 170, 235)), (0.6, (190, 230, 245)), (0.6, (240, 215, 150)), (1.0, (215, 180, 110))),
        "snow": ((0.0, (165, 195, 225)), (0.6, (215, 228, 240)), (0.6, (250, 252, 255)), (1.0, (232, 240, 248))),
        "sea": ((0.0, (80, 200, 215)), (1.0, (12, 62, 135))),
        "space": ((0.0, (8, 8, 18)), (1.0, (20, 16, 40))),
        "forest": ((0.0, (125, 175, 110)), (0.6, (50, 105, 60)), (0.6, (75, 85, 45)), (1.0, (45, 60, 30))),
        "room": ((0.0, (238, 222, 196)), (0.65, (226, 204, 172)), (0.65, (150, 100, 66)), (1.0, (118, 76, 48))),
    }
)

PLACE_WORDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "night": ("at night", "in the night", "under the night sky"),
        "sunset": ("at sunset", "at dusk", "at sunrise", "in the evening"),
        "sky": ("in the sky", "under a blue sky", "in the clouds"),
        "meadow": ("in a meadow", "on the grass", "in a field", "in the garden"),
        "beach": ("on the beach", "in the desert", "on the sand"),
        "snow": ("in the snow", "in winter", "on ice"),
        "sea": ("under water", "in the sea", "in the ocean", "underwater"),
        "space": ("in space", "in outer space", "in the dark"),
        "forest": ("in the forest", "in the woods", "in the jungle"),
        "room": ("in a room", "on a table", "on the floor", "indoors"),
    }
)

# What people say for what emojibase calls otherwise.
EVERYDAY_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "airplane": "plane",
        "articulated lorry": "truck",
        "automobile": "car",
        "blossom": "flower",
        "deciduous tree": "tree",
        "doughnut": "donut",
        "evergreen tree": "pine tree",
        "fire engine": "fire truck",
        "flying saucer": "ufo",
        "gem stone": "diamond",
        "hamburger": "burger",
        "honeybee": "bee",
        "hot beverage": "cup of coffee",
        "jack-o-lantern": "pumpkin",
        "lady beetle": "ladybug",
        "locomotive": "steam train",
        "racing car": "race car",
        "sailboat": "boat",
        "sauropod": "dinosaur",
        "t-rex": "dinosaur",
        "wrapped gift": "gift",
    }
)

# What people ask for first, in emojibase's names: drawn more often, since a thousand subjects are many for a short
# training on a CPU. Of an animal that comes twice the whole one is listed: it bears the name.
_POPULAR = """
airplane, alien, apple, automobile, avocado, balloon, banana, basketball, bat, bear, bicycle, bird, birthday cake,
bread, broccoli, bus, butterfly, cactus, camera, candle, candy, carrot, castle, cat, cherries, chicken, christmas
tree, cloud, cookie, cow, crab, crescent moon, crown, crystal ball, cupcake, dagger, deciduous tree, deer, dog,
dolphin, doughnut, dragon, duck, eagle, egg, elephant, evergreen tree, ewe, fire, fish, flamingo, flying saucer, fox,
frog, full moon, game die, gem stone, ghost, giraffe, globe showing europe-africa, goat, grapes, grinning face,
guitar, hamburger, hatching chick, hedgehog, helicopter, hibiscus, honeybee, horse, hot beverage, house, hut, ice
cream, jack-o-lantern, key, koala, lemon, leopard, light bulb, lion, lobster, locomotive, lollipop, magic wand,
monkey, mountain, mouse, mushroom, octopus, otter, owl, palm tree, panda, parrot, pear, penguin, pig, pile of poo,
pineapple, pizza, polar bear, potted plant, rabbit, racing car, rainbow, ringed planet, robot, rocket, rose, sailboat,
sauropod, shark, ship, skull, slightly smiling face, smiling face with sunglasses, snail, snake, snow-capped mountain,
snowman, soccer ball, spider, star, strawberry, sun, sunflower, t-rex, tangerine, taxi, teapot, teddy bear, tiger,
tomato, top hat, tractor, train, trophy, tropical fish, tulip, turtle, umbrella, unicorn, violin, volcano, watermelon,
whale, wolf, wrapped gift
"""
POPULAR = frozenset(name.strip() for name in _POPULAR.split(","))
