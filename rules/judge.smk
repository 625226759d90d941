rule judge_claims:
    input:
        paths.dataset_marker("{study}"),
    output:
        paths.claims("{study}"),
    log:
        paths.log("judge_claims", "{study}"),
    benchmark:
        paths.benchmark("judge_claims", "{study}")
    conda:
        "../envs/stepscape.yaml"
    threads: 1
    params:
        results=lambda wildcards: settings.results,
        path=lambda wildcards: outline.studies[wildcards.study].path,
        fingerprint=lambda wildcards: outline.studies[wildcards.study].fingerprints["claims"],
    message:
        "Judging {wildcards.study}"
    shell:
        "stepscape judge {params.path:q} --results {params.results:q} > {log:q} 2>&1"
