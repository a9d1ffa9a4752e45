// nextflow run segment.nf --scans 'scans/*.nii.gz' --out out
process SEGMENT {
    cpus 4
    memory '4 GB'
    publishDir params.out, mode: 'copy'
    input: path scan
    output: path 'results/*'
    script: "abdoseg segment $scan -o results --threads $task.cpus --quiet"
}
workflow { channel.fromPath(params.scans) | SEGMENT }
