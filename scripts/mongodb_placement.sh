# shellcheck shell=bash
# On which nodes MongoDB's members live; sourced by deploy.sh, after swarm_lib.sh.
# Their data does not move with them: a member that starts elsewhere starts empty, and three empty ones are an empty
# vault. Swarm moves a task as soon as a node's labels forbid it, so a label may only say what is so already.

declare -A label=() # of each node: 1, 2, 3, none or nothing
declare -A home=()  # of each member: its node, or nothing

find_members() { # fill in label and home
    # shellcheck disable=SC2154 # stack is of swarm_lib.sh
    local node number runs services=${stack}_mongodb
    for node in $(docker node ls -q); do
        label[$node]=$(docker node inspect "$node" --format '{{index .Spec.Labels "mongodb"}}')
    done
    for number in 1 2 3; do
        home[$number]=
        for node in "${!label[@]}"; do
            [[ ${label[$node]} != "$number" ]] || home[$number]=$node
        done
        docker service inspect "$services-$number" >/dev/null 2>&1 || continue
        runs=$(docker service ps --no-resolve -f desired-state=running --format '{{.Node}}' "$services-$number")
        home[$number]=${home[$number]:-$runs}
        [[ ${home[$number]} ]] || fail "mongodb-$number runs nowhere, and no node has its label: see Several nodes in docs/operations.md"
        [[ -z $runs || $runs == "${home[$number]}" ]] ||
            fail "mongodb-$number runs on the node $runs, its label is on ${home[$number]}: see Several nodes in docs/operations.md"
    done
}

choose_homes() { # give each member that is new a node of its own; where there are too few, all three the same one
    local node number free=() new=()
    for number in 1 2 3; do
        [[ ${home[$number]} ]] || new+=("$number")
    done
    for node in $(docker node ls --format '{{.ID}} {{.Status}} {{.Availability}}' | sed -n 's/ Ready Active$//p'); do
        [[ ${label[$node]} || " ${home[*]} " == *" $node "* ]] || free+=("$node")
    done
    ((${#free[@]} >= ${#new[@]} || (${#free[@]} > 0 && ${#new[@]} == 3))) ||
        fail "there is no node for the members ${new[*]} of the replica set: see Several nodes in docs/operations.md"
    for number in "${new[@]}"; do
        home[$number]=${free[0]}
        ((${#free[@]} < ${#new[@]})) || free=("${free[@]:1}" "${free[0]}")
    done
}

place_members() { # label all nodes, so that no member ever starts beside its data
    local node number
    find_members
    ((${#label[@]} > 1)) || return 0
    choose_homes
    case $(printf '%s\n' "${home[@]}" | sort -u | wc -l) in
        3) local -A said=(["${home[1]}"]=1 ["${home[2]}"]=2 ["${home[3]}"]=3) ;;
        1) local -A said=(["${home[1]}"]='') && say "All of MongoDB is on the node ${home[1]}: its loss is the loss of everything." ;;
        *) fail "members of the replica set share a node: see Several nodes in docs/operations.md" ;;
    esac
    for node in "${!label[@]}"; do
        number=${said[$node]-none}
        [[ -z ${label[$node]} && $number ]] || continue
        docker node update --label-add "mongodb=$number" "$node" >/dev/null
        say "Labelled the node $node mongodb=$number."
    done
}
