# shellcheck shell=bash
# Updates of MongoDB's members; deploy.sh sources this file after job.sh and mongodb_placement.sh.
# A member that restarts is lost until it has caught up. So one restarts at a time, and only if no other is lost.
# shellcheck disable=SC2154 # the other files set these variables

absent=() # the members whose node is down or drained

report_nodes() { # fill in `absent`, and say which nodes are down and what follows; fail if too few members are left
    local node status availability name number members
    await_nodes
    while read -r node status availability name; do
        [[ $status != Ready || $availability == Drain ]] || continue
        members=()
        for number in 1 2 3; do
            [[ ${home[$number]-} != "$node" ]] || members+=("$number")
        done
        absent+=("${members[@]}")
        [[ $status != Ready ]] && status="is down" || status="is drained"
        if ((${#members[@]} == 1)); then
            say "Node $name $status, and so is mongodb-${members[*]}."
        elif ((${#members[@]} > 1)); then
            say "Node $name $status, and so are ${members[*]/#/mongodb-}."
        elif [[ $status == "is down" ]]; then
            say "Node $name is down. It has no member of MongoDB."
        fi
    done < <(docker node ls --format '{{.ID}} {{.Status}} {{.Availability}} {{.Hostname}}')
    ((${#absent[@]} < 2)) || fail "the service needs two of MongoDB's three members: bring back a node, then run this script again"
    ((${#absent[@]} == 0)) ||
        say "Two members of MongoDB are left. If you lose another one, the service stops. MongoDB stays as it is: when the node is back, run this script again."
}

await_nodes() { # after a change of the swarm's leader, wait until it knows the state of each node
    local deadline=$((SECONDS + 60))
    while docker node ls --format '{{.Status}}' | grep -qx Unknown && ((SECONDS < deadline)); do
        sleep 1
    done
}

deploy_all_members() { # succeed if all members are to be deployed together: they are new, or none can serve now
    local number args
    args=$(docker service inspect "${stack}_mongodb-1" --format '{{.Spec.TaskTemplate.ContainerSpec.Args}}' 2>/dev/null) || return 0
    # Members with a key do not talk to members without one.
    [[ $args == *keyFile* ]] || return 0
    for number in 1 2 3; do
        (($(running "${stack}_mongodb-$number") == 0)) || return 1
    done
}

ask_members() { # ask_members WAIT: print number and state of each member, as "1 primary"; wait so long for all to be in step
    local said states try
    for try in 1 2 3; do
        # It takes no credential.
        # shellcheck disable=SC2046 # no word, or one
        said=$(run_job $(near) --env "MONGO_URI=mongodb://mongodb-1,mongodb-2,mongodb-3/?replicaSet=rs0" --limit-memory 256M \
            "$IMAGE" replicaset status --json --wait "$1" 2>&1) || true
        states=$(sed -n 's/.*"member": "mongodb-\([123]\):[0-9]*", "state": "\(.*\)".*/\1 \2/p' <<<"$said")
        [[ -z $states ]] || break
        # A node that has just returned can lack the network for a moment.
        say "Attempt $try of 3 to ask MongoDB's members failed: ${said//$'\n'/ }"
    done
    printf '%s\n' "$states"
}

in_step() { # succeed if all members are in step, or get there soon
    [[ $(ask_members 3m | grep -cE ' (primary|secondary)$') == 3 ]]
}

update_members() { # deploy the members one at a time: first those that are not in step, at the end the primary
    local number state primary='' others=() late=()
    say "Asking MongoDB's members for their state."
    while read -r number state; do
        case $state in
            primary) primary=$number ;;
            secondary) others+=("$number") ;;
            *) late+=("$number") ;;
        esac
    done < <(ask_members 1s)
    ((${#others[@]} + ${#late[@]} > 0)) || fail "MongoDB's members do not answer: $(culprit)"
    for number in "${late[@]}"; do
        mend_member "$number"
    done
    if ((${#late[@]})) && ! in_step; then
        say "These members are not in step: ${late[*]/#/mongodb-}. The others stay as they are: when all are, run this script again."
        say "For the reason, run docker service logs ${stack}_mongodb-${late[0]}"
        return
    fi
    for number in "${others[@]}" $primary; do
        update_member "$number"
    done
}

mend_member() { # mend_member NUMBER: deploy a member that is not in step, and start it if Docker has lost track of it
    local name=${stack}_mongodb-$1
    deploy_services "mongodb-$1"
    # If its service was deployed while its node was down, its task stays pending.
    if [[ $(homeless "$name") ]]; then
        say "Starting mongodb-$1, which Docker did not start although its node is back."
        docker service update --quiet --detach --force "$name" >/dev/null
    fi
}

update_member() { # update_member NUMBER: deploy a member, and if that restarts it, wait until it is in step again
    local name=${stack}_mongodb-$1 before
    before=$(spec "$name")
    deploy_services "mongodb-$1"
    [[ $(spec "$name") != "$before" ]] || return 0
    say "Restarting mongodb-$1."
    await_update "$name"
    in_step || fail "mongodb-$1 is not in step again: for the reason, run docker service logs $name"
}
