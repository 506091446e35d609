#!/usr/bin/env bash
# Gathers the photographs that gsasr-small was trained on, from Debian's packages, as links in FOLDER/train, and those that
# watched over it in FOLDER/val:
#     bash docs/photographs.sh FOLDER
#     gsasr options photographs.sh | bash -s FOLDER
# Nothing of them is in this repository. Their licences are in /usr/share/doc/<package>/copyright: lomiri-wallpapers
# CC0-1.0, CC-BY-4.0, CC-BY-SA-3.0 and -4.0 (file by file), mate-backgrounds and plasma-workspace-wallpapers GPL-2+.
set -euo pipefail
[ $# = 1 ] || { echo "usage: bash docs/photographs.sh FOLDER" >&2; exit 2; }

packages=(lomiri-wallpapers-16.04 lomiri-wallpapers-20.04 mate-backgrounds plasma-workspace-wallpapers)
dpkg-query --show "${packages[@]}" > /dev/null 2>&1 || {
    echo "not installed; do this first: sudo apt-get install --no-install-recommends ${packages[*]}" >&2
    exit 1
}

backgrounds=/usr/share/backgrounds
wallpapers=/usr/share/wallpapers
mkdir -p "$1/train" "$1/val"
for name in \
    Bridge_by_Sander_Klootwijk Dragonfly_by_Bolly Kleiber_by_Lukas_Baubkus Picture_0B_by_freespace \
    Wine_by_Jakkub_Mede aitzgorri_by_Aitzol_Berasategi friends_by_Aitzol_Berasategi greentock_by_Peter_Nerlich \
    life_by_Aitzol_Berasategi picosdeeuropa_by_Aitzol_Berasategi seeding_by_Clements_Engelhardt \
    sunset_by_Aitzol_Berasategi mate/abstract/Elephants_5640x3172 \
    mate/nature/{Blinds,Dune,Garden,GreenMeadow,LadyBird,RainDrops,Storm,YellowFlower}; do
    ln -sf "$backgrounds/$name.jpg" "$1/train/"
done
for name in BytheWater EveningGlow FallenLeaf Grey OneStandsOut Path; do
    ln -sf "$wallpapers/$name/contents/images/2560x1600.jpg" "$1/train/$name.jpg"
done
ln -sf "$backgrounds/Picture_1A_by_freespace.jpg" "$1/val/"
ln -sf "$wallpapers/ColorfulCups/contents/images/2560x1600.jpg" "$1/val/ColorfulCups.jpg"
echo "$(find "$1/train" -name '*.jpg' | wc -l) photographs in $1/train, $(find "$1/val" -name '*.jpg' | wc -l) in $1/val"
